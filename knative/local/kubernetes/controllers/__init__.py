"""The control loops: what the controller manager, the scheduler and the kubelets do in a real cluster, as far as the
served kinds need it. Each loop is level-triggered: it looks at the state and moves it one step nearer to what is
wanted."""
