"""The default rules again, in the plainest form: each segment a list of [bytes, tensor], tensor None where free."""

MIB = 2**20


class Oracle:
    def __init__(self, capacity):
        self.capacity = float("inf") if capacity is None else capacity
        self.segments = {"small": [], "large": []}

    @property
    def reserved(self):
        return sum(size for segments in self.segments.values() for runs in segments for size, _ in runs)

    @property
    def allocated(self):
        every = (run for segments in self.segments.values() for runs in segments for run in runs)
        return sum(size for size, tensor in every if tensor is not None)

    def step(self, event):
        if event.action == "release":
            self._release(event.tensor)
        elif event.bytes:
            self._allocate(event.tensor, -(-event.bytes // 512) * 512)

    def _release(self, tensor):
        for segments in self.segments.values():
            for runs in segments:
                for run in runs:
                    if run[1] == tensor:
                        run[1] = None
                merged = []
                for size, owner in runs:
                    if merged and merged[-1][1] is None and owner is None:
                        merged[-1][0] += size
                    else:
                        merged.append([size, owner])
                runs[:] = merged

    def _allocate(self, tensor, size):
        pool = "small" if size <= MIB else "large"
        place = self._best_fit(pool, size)
        if place is None:
            new = 2 * MIB if pool == "small" else 20 * MIB if size < 10 * MIB else -(-size // (2 * MIB)) * 2 * MIB
            if self.reserved + new > self.capacity:
                for segments in self.segments.values():
                    segments[:] = [runs for runs in segments if not (len(runs) == 1 and runs[0][1] is None)]
            if self.reserved + new > self.capacity:
                return
            self.segments[pool].append([[new, None]])
            place = len(self.segments[pool]) - 1, 0
        runs, at = self.segments[pool][place[0]], place[1]
        rest = runs[at][0] - size
        if rest >= 512 if pool == "small" else rest > MIB:
            runs[at : at + 1] = [[size, tensor], [rest, None]]
        else:
            runs[at][1] = tensor

    def _best_fit(self, pool, size):
        free = [
            (run[0], number, at)
            for number, runs in enumerate(self.segments[pool])
            for at, run in enumerate(runs)
            if run[1] is None and run[0] >= size
        ]
        return min(free)[1:] if free else None
