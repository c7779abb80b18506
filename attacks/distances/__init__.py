"""How far unlearned models lie from retrained ones, in weights and in predictions, against retrained ones among themselves."""
