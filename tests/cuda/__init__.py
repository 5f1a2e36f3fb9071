"""What a GPU does differently. Most bodies also run on a CPU, with a stand-in for the CUDA graph."""
