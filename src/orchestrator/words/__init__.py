"""What people read: codes and standings of the core as text, English or Russian. Pure."""
