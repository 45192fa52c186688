FORMATS = {"csv", "gml", "shp", "gpkg"}
