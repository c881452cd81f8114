"""Tools and habits that come with lash and use nothing but what any application may use."""
