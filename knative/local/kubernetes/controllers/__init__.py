"""The control loops of the controller manager, the scheduler and the kubelets, as far as the served kinds need them.

Each loop is level-triggered: it reads the present state and moves it one step towards the desired one.
"""
