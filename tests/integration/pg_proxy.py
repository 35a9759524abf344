# SPDX-License-Identifier: Apache-2.0
"""A proxy that reads along with PostgreSQL's protocol and cuts, or holds, a connection at a statement that is chosen."""
import select
import socket
import struct
import threading


class Proxy:
    """Stands before the server of `url`; its own address is in .url.

    at(number, sql) is asked for every statement that a client wants executed, counted over all connections from 1.  It answers
    None to let it pass, "before" to cut the connection before the server gets it, "after" to let the server do all that was sent
    with it and cut before the answer, or a threading.Event to hold it until that is set, as if the client were frozen."""

    def __init__(self, url, at):
        head, rest = url.split("@")
        address, name = rest.split("/", 1)
        host, port = address.split(":")
        self.server = (host, int(port))
        self.at = at
        self.count = 0
        self.cuts = 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"{head}@127.0.0.1:{self.listener.getsockname()[1]}/{name}?sslmode=disable&gssencmode=disable"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def close(self):
        self.listener.close()

    def serve(self, client):
        server = socket.create_connection(self.server)
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            Connection(self, client, server).run()
        except OSError:
            pass
        finally:
            client.close()
            server.close()

    def ask(self, sql):
        with self.lock:
            self.count += 1
            return self.at(self.count, sql)


class Connection:
    def __init__(self, proxy, client, server):
        self.proxy, self.client, self.server = proxy, client, server
        self.started = False
        self.parsed = ""
        self.cut_at_sync = False
        self.buffer = b""
        self.prepared = b""  # of the next statement: nothing of one that is held or cut reaches the server

    def run(self):
        while True:
            for ready in select.select([self.client, self.server], [], [])[0]:
                data = ready.recv(1 << 16)
                if not data:
                    return
                if ready is self.server:
                    self.client.sendall(data)
                elif not self.from_client(data):
                    with self.proxy.lock:
                        self.proxy.cuts += 1
                    return

    def from_client(self, data):
        """Pass on whole messages; False when the connection is to be cut."""
        self.buffer += data
        while True:
            head = 1 if self.started else 0
            if len(self.buffer) < head + 4:
                return True
            size = head + struct.unpack("!I", self.buffer[head:head + 4])[0]
            if len(self.buffer) < size:
                return True
            message, self.buffer = self.buffer[:size], self.buffer[size:]
            if not self.message(message):
                return False

    def message(self, message):
        kind = message[:1] if self.started else b""
        self.started = True
        if kind in (b"P", b"B", b"D"):
            if kind == b"P":
                self.parsed = message[5:].split(b"\0")[1].decode()
            self.prepared += message
            return True
        what = None
        if kind in (b"Q", b"E"):
            what = self.proxy.ask(self.parsed if kind == b"E" else message[5:-1].decode())
        if isinstance(what, threading.Event):
            what.wait()
        elif what == "before":
            return False
        elif what == "after":
            self.cut_at_sync = True
        self.server.sendall(self.prepared + message)
        self.prepared = b""
        if self.cut_at_sync and kind in (b"Q", b"S"):
            self.await_ready()
            return False
        return True

    def await_ready(self):
        """Until the server has done everything and is ready for more."""
        got = b""
        while True:
            while len(got) >= 5 and len(got) >= (size := 1 + struct.unpack("!I", got[1:5])[0]):
                if got[:1] == b"Z":
                    return
                got = got[size:]
            data = self.server.recv(1 << 16)
            if not data:
                return
            got += data
