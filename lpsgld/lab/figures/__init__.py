"""Figures for slides: files, frames, and the page that shows them; what they draw lives in views."""
