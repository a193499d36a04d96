"""Who somebody is: tokens, sessions in a browser, Gitea's sign-in. Who may ask what is `web.access`."""
