// Package yamltree reads YAML as Kubernetes does (YAML 1.1: yes is a boolean, 010 is eight), with the line of each value,
// and edits single values in place.
//
// What two readers may see differently is an error: repeated keys, keys that are not strings, merge keys and tags of other
// types. Aliases are followed, and count as often as they are used; size, depth and the number of values are bounded.
package yamltree
