"""What a user sees: words and figures, lines for the terminal, pages of HTML. Nothing is computed here."""
