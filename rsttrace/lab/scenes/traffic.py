"""What the Python steps of scenes use."""

import fcntl
import os
import select
import signal
import socket
import ssl
import struct
import subprocess
import termios
import threading
import time

CLIENT = os.environ.get("CLIENT")
BALANCER = os.environ.get("BALANCER")
BALANCER_BACK = os.environ.get("BALANCER_BACK")
SERVER = os.environ.get("SERVER")
SHARED = os.environ.get("SHARED")

GET = b"GET / HTTP/1.1\r\nHost: scene\r\n\r\n"
LIMIT = 20


def pid(program):
    return int(os.environ["PID_" + program])


def connect(host, port, tls=False):
    connection = socket.create_connection((host, port), timeout=LIMIT)
    if tls:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = context.wrap_socket(connection)
    return connection


def get(connection, request=GET):
    """Asks and reads the whole answer, which has a Content-Length."""
    connection.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        more = connection.recv(65536)
        assert more, answer
        answer += more
    head, body = answer.split(b"\r\n\r\n", 1)
    lines = head.lower().split(b"\r\n")
    length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
    while len(body) < length:
        more = connection.recv(65536)
        assert more, answer
        body += more
    return head, body


def await_fin(connection):
    """Waits until the peer has closed, and a round trip of the internet longer. Reads nothing."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    assert poll.poll(LIMIT * 1000), "the peer does not close"
    time.sleep(0.02)


def await_full(connection):
    """Waits until the receive buffer is full, and reads nothing."""
    end, before = time.monotonic() + LIMIT, -1
    while time.monotonic() < end:
        unread = int.from_bytes(fcntl.ioctl(connection, termios.FIONREAD, bytes(4)), "little")
        if unread and unread == before:
            return
        before = unread
        time.sleep(0.1)
    raise AssertionError("nothing comes")


def await_reset(connection):
    """Reads until the connection is reset."""
    connection.settimeout(LIMIT)
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        return
    raise AssertionError("no reset")


def send_until_reset(connection, data=b"x"):
    """Sends until the kernel says that the connection is gone."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        try:
            connection.sendall(data)
        except (ConnectionError, ssl.SSLError):
            return
        time.sleep(0.01)
    raise AssertionError("no reset")


def abort(connection):
    """Closes with SO_LINGER 0."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def eventually(what, ask):
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.01)
    raise AssertionError("not within the limit: " + what)


def every(seconds, times, work):
    """Does something at even intervals, however long it takes."""
    begun = time.monotonic()
    for number in range(times):
        time.sleep(max(0, begun + number * seconds - time.monotonic()))
        work()


def sockets(state, filter=""):
    """Lines of ss for sockets in this state."""
    return subprocess.run(
        ["ss", "-Htn", "state", state, filter], check=True, capture_output=True, text=True
    ).stdout.splitlines()


def together(*work):
    """Runs functions side by side, and fails if one of them does."""
    failed = []

    def run(function):
        try:
            function()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def run_on(host, command):
    """Runs a shell command on another host, and returns its output."""
    enter = ["nsenter", "--net=" + os.environ["NETNS_" + host], "sh", "-c", command]
    return subprocess.run(enter, check=True, stdout=subprocess.PIPE, text=True).stdout


def stay():
    """Ends the step, and leaves a process that keeps its connections until the scene ends."""
    if os.fork() == 0:
        signal.pause()
