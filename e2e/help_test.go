package e2e
import "testing"
func must(t *testing.T, err error) { t.Helper(); if err != nil { t.Fatal(err) } }
func TestX(t *testing.T) {
 _ = encryptFile
}
