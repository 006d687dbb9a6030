"""Engines: what is put into other programs that run models, so that they steer. One engine a folder."""
