"""MonoDDLE: 3D objects from one image, with dense depth learned from a teacher."""
