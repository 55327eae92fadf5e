"""The paper's pictures: gradients, targeted attacks, trajectories and sheets of samples."""
