// Package views holds the read models of the plugin Ordering.
package views
