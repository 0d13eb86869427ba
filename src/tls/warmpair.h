/* Two pairs for the handshakes that a process has with itself (warm.c). Their keys are published
 * here, so they protect nothing: no context of a configuration ever has them. Valid from 2026 to
 * 2126, for the name warm.invalid (RFC 2606 2).
 *
 * Constants, because an RSA key takes 100 ms to make. */
#ifndef TLS_WARMPAIR_H
#define TLS_WARMPAIR_H

#define WARM_P256                                                            \
	"-----BEGIN CERTIFICATE-----\n"                                      \
	"MIIBnjCCAUSgAwIBAgIUazr9ozimyiYP3PND+egiiGM8q+owCgYIKoZIzj0EAwIw\n" \
	"FzEVMBMGA1UEAwwMd2FybS5pbnZhbGlkMCAXDTI2MTEyOTE2MzkxMFoYDzIxMjYx\n" \
	"MTA1MTYzOTEwWjAXMRUwEwYDVQQDDAx3YXJtLmludmFsaWQwWTATBgcqhkjOPQIB\n" \
	"BggqhkjOPQMBBwNCAAQwnDA037XHMlYQT8M9iZTwre2B16IQ6va3ak+XV7TTuBrS\n" \
	"0Ovv/6HmIp3aavRZVtoXyewNY08JLFMFesMSaS9fo2wwajAdBgNVHQ4EFgQUXF43\n" \
	"dI4zXfsh/k+NRn2ys3QMHk0wHwYDVR0jBBgwFoAUXF43dI4zXfsh/k+NRn2ys3QM\n" \
	"Hk0wDwYDVR0TAQH/BAUwAwEB/zAXBgNVHREEEDAOggx3YXJtLmludmFsaWQwCgYI\n" \
	"KoZIzj0EAwIDSAAwRQIhAI560G9MZvOoB5vP7zUz8FG41O4Aq0rLE24dNnv038Ba\n" \
	"AiBJkr0J9nvkrjDCCcqGZDJCQHbo+hlIMAsfvcdVENXP+w==\n"                 \
	"-----END CERTIFICATE-----\n"                                        \
	"-----BEGIN PRIVATE KEY-----\n"                                      \
	"MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgoyNVuaJwZtPmuW4n\n" \
	"Upe0BS7KWXKwxVBeEL9nYPCvvOWhRANCAAQwnDA037XHMlYQT8M9iZTwre2B16IQ\n" \
	"6va3ak+XV7TTuBrS0Ovv/6HmIp3aavRZVtoXyewNY08JLFMFesMSaS9f\n"         \
	"-----END PRIVATE KEY-----\n"

#define WARM_RSA                                                             \
	"-----BEGIN CERTIFICATE-----\n"                                      \
	"MIIDKjCCAhKgAwIBAgIUTq4vP2PyyTLn2gECA07LO5d9OkIwDQYJKoZIhvcNAQEL\n" \
	"BQAwFzEVMBMGA1UEAwwMd2FybS5pbnZhbGlkMCAXDTI2MTEyOTE2MzkxMVoYDzIx\n" \
	"MjYxMTA1MTYzOTExWjAXMRUwEwYDVQQDDAx3YXJtLmludmFsaWQwggEiMA0GCSqG\n" \
	"SIb3DQEBAQUAA4IBDwAwggEKAoIBAQDA3xcDxrhiDU2Y/PjPYwxUkJJET7o2eJP6\n" \
	"Q2Me+cW6sz9ojPofIKuyFrmhBDYheqWe+DJkbJk2pXseFtbVagu1fjSN8C1ofrIt\n" \
	"HtQUz2fCQes2ikDIfhmBWom+2RXkpNpnHgrxTUTKdi7Qc4GhEAkCYyQ8CqTNMzj4\n" \
	"M+E5vn0BDNPco3tuLr+UL4cTFh9hJKprmKdu8iYZS2jh2JWVKMIpKHbISbFf9gCb\n" \
	"IbmDvzd9zkBjoqIsj+cnGeLEBxOEfpQLdTG5vy483wU+dI51iKpHODRgLnLspbU0\n" \
	"Pyu2xTgS9j4VsuGP/QeaTNg2U7s3APt5c6n2evlS652fXS03q44zAgMBAAGjbDBq\n" \
	"MB0GA1UdDgQWBBSmiyVh24ZUZAfc99OROmM2u+h7DTAfBgNVHSMEGDAWgBSmiyVh\n" \
	"24ZUZAfc99OROmM2u+h7DTAPBgNVHRMBAf8EBTADAQH/MBcGA1UdEQQQMA6CDHdh\n" \
	"cm0uaW52YWxpZDANBgkqhkiG9w0BAQsFAAOCAQEASbvN771ut+dr/KsXfAz4kxPH\n" \
	"j8bjn/rzhmsMchMzt44TCFwnWLchMSzU0Ye2dV4bdzwIOAJWTTnS20HItPe9UyrE\n" \
	"AMXhV/0DkIUnFozkUT82GBDydWujPvgrBvs7DTkn3wt6AqLRF7Iolm8fxuuNkGSR\n" \
	"vApgUEfV2g7zF9+yaAF4zcEVkLwGpRHPOoRBYk/CVQmU/6rmROeHmw/j4wxvRwOb\n" \
	"Ok1OZ93uniUEIF3UL7Y/HaAkgzO/T109YHVvLCJ2hBQfHPpoi/CC1+4QQihOuNxU\n" \
	"DNJ2YST3arJaPlPmgmMlfDgelSehKpr+QU3CsiFkabvFoBAJEbiY5/yemFFcWw==\n" \
	"-----END CERTIFICATE-----\n"                                        \
	"-----BEGIN PRIVATE KEY-----\n"                                      \
	"MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQDA3xcDxrhiDU2Y\n" \
	"/PjPYwxUkJJET7o2eJP6Q2Me+cW6sz9ojPofIKuyFrmhBDYheqWe+DJkbJk2pXse\n" \
	"FtbVagu1fjSN8C1ofrItHtQUz2fCQes2ikDIfhmBWom+2RXkpNpnHgrxTUTKdi7Q\n" \
	"c4GhEAkCYyQ8CqTNMzj4M+E5vn0BDNPco3tuLr+UL4cTFh9hJKprmKdu8iYZS2jh\n" \
	"2JWVKMIpKHbISbFf9gCbIbmDvzd9zkBjoqIsj+cnGeLEBxOEfpQLdTG5vy483wU+\n" \
	"dI51iKpHODRgLnLspbU0Pyu2xTgS9j4VsuGP/QeaTNg2U7s3APt5c6n2evlS652f\n" \
	"XS03q44zAgMBAAECggEAUMU8eKbgcaObkw2hzwvuTn3K21O+KnCdm+lbmc3FChZl\n" \
	"4A1l8+I1NRwCOhWu659Wu7e6Nscp9LIhWKz85BwIckW7kZN7GK8yQ+YMr/hZvgbo\n" \
	"D4ufbLcuTDcTx3pXCk0lb5irwXj37YfHvCEbMM2r0DWfp4tXj927JmpnkEyfQfAX\n" \
	"FVBSZfp+UuH785M6Mmb7iU9dzocpvll87i2poOtFI837weY4VQW6N/GfbSVRbGoS\n" \
	"5OE56/0K986o/04kQOWkdFBYk43Q0LpAsPM7Ea+FC+b3p//NEZ73w/CSvQu05VH8\n" \
	"ZwxMvRQr+xyM+RwCZNsvU8hjkqWIOuWoVwT0mKSXGQKBgQD9Tcw5VJUAYyaImgYj\n" \
	"VXW19YjnptjndvEiCcPh2UqJCiRJ3PaA2OyPJFlZqNuBMuR+bTN/PwA2V29fgRdS\n" \
	"gJoa6EGeKefJWaAjmGleIMiEstRIFhiFiknjAv9edQR3Zt5sYL2xRZfjLoYR8jQu\n" \
	"XVL1SLtFaJseElQUSZ6jscd36QKBgQDC7KA4BzBe0fcxo4ZJ0Cc05LJiOOzdvm5g\n" \
	"A1KY1kewgj8gCyozuEzICnyCglctcOBaQ4Qe5EyhZhYGMpkWE+K0/jNqCVRUMN+u\n" \
	"J2FvoPcipsnxXSkzu8gkrU/p29chSXp0yjajN4C/JhvGoN4UdLQP5CvoJugGHito\n" \
	"s2UizovfuwKBgQDCqs1uqeAxAgIVLTnWYdEq294xGXrMuA4s+JA/u7yagN7OnTAc\n" \
	"aZmzkF3SmADJ1BDiUI4pFoPVP3DqVs1TrF3CnAgBw3bMuUJm2LTxkARKZxzZoZGK\n" \
	"33JVMnKLZybdlIMPi3F9EVzfTVvf4uHTWAlvVEwH1ZKQk8lmJgXzC6eeMQKBgA6i\n" \
	"JQUPxRnZOW2IkTRJZCgcYyfsjhu3iCG9Hh5LN+aQYJzPOcPYOitqXh6OGm1W5ADi\n" \
	"wLBxAy+6sjyU39lAdOyRiNqVCLepU6GHY1E2DFeVneN40vcHSec2+6Da2DOviHns\n" \
	"FF38dLXk7oDi4sk2Wa43uvQat6B981RQ427Rgr6xAoGBAPc6sQ4ZVI8LF0rJQxbo\n" \
	"V6IsAqiI72fdBo0n+oezTLkv9gHcc08E089fw93vzSwTPTGA31zixau/1zDCW1HJ\n" \
	"Tpk5unB3I3/QVLcGoShCxOQrh/9wg5Bdimh7vUlQhdZSoLczWYV7jBtA7vGGifvH\n" \
	"lUATdS1RI9Fhd7kEmeDxRX3g\n"                                         \
	"-----END PRIVATE KEY-----\n"

#endif
