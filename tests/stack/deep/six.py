# Six functions deep, and then for ever in read().
import os


def leak_here():
    return len(os.read(0, 1))


def take_one():
    return leak_here() * 3


class Handler:
    def handle(self):
        return take_one() * 5


def dispatch(call):
    return call() * 7


def serve():
    return dispatch(Handler().handle) * 11


def run_server():
    return serve() * 13


run_server()
