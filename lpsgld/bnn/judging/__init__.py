"""What posterior samples are worth, beside what others published; nothing is trained here."""
