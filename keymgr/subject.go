package keymgr

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// requestType is the armour of a certificate signing request.
const requestType = "CERTIFICATE REQUEST"

// Subject names the cluster in its certificate request; all members may be
// empty. Some key servers take the user's name from CommonName or
// OrganizationalUnit.
type Subject struct {
	CommonName         string
	Country            string // two letters, ISO 3166
	EmailAddress       string
	Locality           string
	Organization       string
	OrganizationalUnit string
	State              string
}

// part is one attribute of a name.
type part struct {
	what, value string
	oid         asn1.ObjectIdentifier
	limit       int // characters, X.520 and RFC 5280 appendix A
	tag         int
}

// parts are in the order in which Element writes them.
func (s Subject) parts() []part {
	x520 := func(n int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 4, n} }
	return []part{
		{"common name", s.CommonName, x520(3), 64, asn1.TagUTF8String},
		{"organization", s.Organization, x520(10), 64, asn1.TagUTF8String},
		{"organizational unit", s.OrganizationalUnit, x520(11), 64, asn1.TagUTF8String},
		{"locality", s.Locality, x520(7), 128, asn1.TagUTF8String},
		{"state", s.State, x520(8), 128, asn1.TagUTF8String},
		{"country", s.Country, x520(6), 2, asn1.TagPrintableString},
		{"email address", s.EmailAddress, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}, 255, asn1.TagUTF8String},
	}
}

// marshal gives the name in DER; ErrInvalid.
func (s Subject) marshal() ([]byte, error) {
	if c := s.Country; c != "" && (len(c) != 2 || strings.Trim(strings.ToUpper(c), "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "") {
		return nil, fmt.Errorf("%w: country %.20q: two letters are needed, such as DE", ErrInvalid, c)
	}
	name := pkix.RDNSequence{}
	for _, p := range s.parts() {
		if p.value == "" {
			continue
		}
		if !utf8.ValidString(p.value) || utf8.RuneCountInString(p.value) > p.limit ||
			strings.ContainsFunc(p.value, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return nil, fmt.Errorf("%w: %s %.80q: at most %d printable characters are allowed", ErrInvalid, p.what, p.value, p.limit)
		}
		name = append(name, pkix.RelativeDistinguishedNameSET{{
			Type: p.oid, Value: asn1.RawValue{Tag: p.tag, Bytes: []byte(p.value)},
		}})
	}
	return asn1.Marshal(name)
}

// newRequest makes a certificate signing request (PKCS #10) for a client of key
// servers, DER.
func newRequest(key crypto.Signer, name []byte) ([]byte, error) {
	usage, err := asn1.Marshal(asn1.BitString{Bytes: []byte{0xa0}, BitLength: 3}) // digitalSignature, keyEncipherment
	if err != nil {
		return nil, err
	}
	clientAuth, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 2}})
	if err != nil {
		return nil, err
	}
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		RawSubject: name, SignatureAlgorithm: x509.SHA256WithRSA,
		ExtraExtensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Critical: true, Value: usage},
			{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: clientAuth},
		},
	}, key)
}
