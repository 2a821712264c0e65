"""How a run is spread over processes: what each holds of the weights, and what it keeps beside them."""
