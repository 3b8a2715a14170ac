// Package tree has the form in which the readers of deployment documents look at them, whichever notation they were written
// in: ordered values that know their line and, where the notation gives it, their bytes.
package tree
