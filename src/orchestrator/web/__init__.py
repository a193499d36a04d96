"""What people and programs see and order: pages, the API, and who may."""
