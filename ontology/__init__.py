"""What is said: ACL messages, agent identifiers, ontologies and typed content."""
