// Package staging holds the files the host copies into the guest with CopyFile: resolv.conf, config maps, secrets.
//
// The host chooses every byte, name and order of these requests, and a container that got an entry with write access can
// change what is inside that entry at any time. Both want the same thing: that a write of the agent lands elsewhere
// (CVE-2026-41326 was a symbolic link planted by one CopyFile and followed by the next). So the agent never follows a
// link here: each directory on the way is opened beneath the one before and must be the very directory that was seen
// without following, new content is written in a directory that no container is ever given, and only a complete file is
// renamed into place, which replaces a link instead of following it.
//
// Links are kept for the container's sake (kubelet's ..data), relative and inside their own top entry. Nothing here is
// executable or setuid. Bytes, entries, depth and names are bounded before anything is stored; a request over a limit
// leaves what was there.
//
// An entry says nothing about who may see it: it is invisible until an allowed create_container binds it.
package staging
