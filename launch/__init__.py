"""Jobs: thin command lines over the library."""
