"""Cards: the files that state what each model is, checked, compiled and rendered."""
