// Package nodeinstall puts Cloister onto a containerd node and takes it off again: programs, the snapshotter's service unit, a configuration of the node
// with comments, and one drop-in file of containerd's configuration.
//
// It runs as root on somebody else's machine, so it changes as little as it can. containerd's own file is read, and gets at most one line, an import of the
// drop-in, with a backup beside it. Everything is planned before anything is written; a configuration that it does not fully understand is refused with the next
// step. What was written is recorded with its digest, and uninstalling removes only what still has it.
//
// containerd versions before 2.4 let a drop-in replace a plugin's whole section, later ones merge it. The drop-in therefore repeats the section of each plugin
// it adds to: both come to the same. Sections are the user's, so a change of the main file below such a plugin needs another install, and Stale says so.
package nodeinstall
