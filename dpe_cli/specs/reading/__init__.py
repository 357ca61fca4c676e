"""What a spec says, from Markdown as analysts write it."""
