"""The inbound edge: a request is bounded, verified on its raw bytes, parsed once, and handed on to be stored."""
