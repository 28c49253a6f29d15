"""SPADE behaviours that drive conversations: the wire, the mailroom, delivery, deadlines, supervision."""
