"""
The `overlord` command: arguments in, sentences and an exit code out.

    main     the command and its subcommands
    demo     servers, the proxy before them, and a page that says how to talk to it
    family   processes that end together
"""
