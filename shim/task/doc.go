// Package task is containerd's face of a pod: the task API of versions 2 and 3, the sandbox API, standard streams, events and exits.
package task
