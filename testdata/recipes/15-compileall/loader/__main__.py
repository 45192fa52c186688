from . import FORMATS

print(sorted(FORMATS))
