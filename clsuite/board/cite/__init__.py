"""Tables of results that a paper can cite, with the references and the paragraph that belong to them."""
