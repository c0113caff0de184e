"""The live page of a run: a web server on 127.0.0.1 beside the run, in a process of its own.

    run --live--> follower --server-sent events--> the page in a browser
        <--------------- server <--requests------- (templates/)
"""
