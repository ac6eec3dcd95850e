// Package views declares the read models of the plugin Ordering.
package views
