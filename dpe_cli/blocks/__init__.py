"""The waist: what a source gives and the loader takes."""
