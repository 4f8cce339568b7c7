"""What engines share: parameters of methods, rules for modules, what they refuse, output checks."""
