// Package jsontree reads JSON as the resource manager of Azure does, with the bytes and the line of each value.
//
// Over RFC 8259 it allows comments (// and /* */) and a byte order mark, nothing else. A member that is there twice is an
// error, since two readers of such a document see two documents. Depth, size and the number of values are bounded.
package jsontree
