"""A TCP gate between client and server, whose network a test breaks and heals."""
import socket, threading, time


class Gate:
    """Listens at `address` and passes bytes on to `target`, as its members say at that moment."""

    def __init__(self, target):
        host, port = target.rsplit(":", 1)
        self.target = (host, int(port))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.closed_port = False    # new connections end at once
        self.stalled = False        # nothing is passed on, nobody is told
        self.half_closed = None     # "up" or "down": that way has ended, the other goes on
        self.delay = 0              # seconds that each piece takes
        self.rate = None            # bytes a second, each way
        self.cut_after_up = []      # a connection is cut after so many bytes to the server, one after the other
        self.cut_after_down = []    # the same to the client
        self.lose_answers_after = None  # bytes to the server, after which nothing of its comes back
        self.up = self.down = 0     # bytes passed on so far
        self.connections = 0
        self.lock = threading.Lock()
        self.pairs = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                if self.closed_port:
                    raise OSError
                server = socket.create_connection(self.target, 10)
            except OSError:
                client.close()
                continue
            with self.lock:
                self.connections += 1
                self.pairs.append((client, server))
                limits = [limit.pop(0) if limit else None
                          for limit in (self.cut_after_up, self.cut_after_down)]
            sent = [0]  # to the server
            for source, sink, up, limit in ((client, server, True, limits[0]),
                                            (server, client, False, limits[1])):
                threading.Thread(target=self._pass, args=(source, sink, up, limit, sent),
                                 daemon=True).start()

    def _pass(self, source, sink, up, limit, sent):
        passed, ended = 0, False
        try:
            while piece := source.recv(64 << 10):
                if not ended and self.half_closed == ("up" if up else "down"):
                    sink.shutdown(socket.SHUT_WR)
                    ended = True
                if ended:
                    continue
                while self.stalled:
                    time.sleep(0.01)
                if self.delay:
                    time.sleep(self.delay)
                if self.rate:
                    time.sleep(len(piece) / self.rate)
                if up:
                    sent[0] += len(piece)
                elif self.lose_answers_after is not None and sent[0] > self.lose_answers_after:
                    continue
                if limit is not None:
                    piece = piece[:limit - passed]
                sink.sendall(piece)
                passed += len(piece)
                with self.lock:
                    if up:
                        self.up += len(piece)
                    else:
                        self.down += len(piece)
                if limit is not None and passed >= limit:
                    break
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        """Ends all connections, in the middle of whatever they do."""
        with self.lock:
            pairs, self.pairs = self.pairs, []
        for pair in pairs:
            for end in pair:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                end.close()

    def heal(self):
        self.closed_port = self.stalled = False
        self.half_closed = None
        self.delay, self.rate, self.lose_answers_after = 0, None, None
        self.cut_after_up, self.cut_after_down = [], []

    def close(self):
        self.heal()
        self.listener.close()
        self.cut()
