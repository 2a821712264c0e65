"""The bundled minimal GPT: the model that the estimates are exact for."""
