// Package fit reads what a pod's policy lists and fits a container's specification to it: a mount's source becomes the name that the policy's rule with the same
// destination has for it; what kubelet adds and no container of the policy lists is left out, each with a note. It never adds a right: the agent judges what arrives, and
// trusts nothing of this.
package fit
