"""Scoring what was trained elsewhere: folders of models, replies of an unknown engine, tables of accuracies."""
