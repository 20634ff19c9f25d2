//! What must not compile: I2 no-send-without-permit, held by the compiler.

#[test]
fn i2_permits_cannot_be_forged_kept_outlived_or_spent_twice() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
