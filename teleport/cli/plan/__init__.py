"""What a change of policy would do: `states` are compared in a `report`, which is told as text, JSON or Markdown."""
