"""Models of scikit-learn, XGBoost and LightGBM as ONNX, from a pipeline that was fitted.

A graph begins where pandas ends: its inputs are a table's columns after they were cleaned (numbers as
float32, everything else as text), one a column, called as the column. How a column is cleaned is written
into the file (`cleaning`), so that whoever runs it needs neither the pickle nor this project.
"""
