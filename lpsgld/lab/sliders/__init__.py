"""Views and what moves them: controls, panel, ghosts; what a view draws lives in views."""
