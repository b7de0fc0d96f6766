"""The benchmark: ratios against floors and peers measured in the same run."""
