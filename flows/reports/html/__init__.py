"""What pages of every kind are made of: frame, style, tables, charts, pictures. Nothing here knows a store or a family."""
