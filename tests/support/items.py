"""Data sets of torch."""

from torch.utils.data import Dataset


class Items(Dataset):
    """A torch data set of these items."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, number):
        return self.items[number]
