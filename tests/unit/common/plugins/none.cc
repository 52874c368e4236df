// A shared object that is no plug-in.
extern "C" int tiffin_test_nothing() { return 0; }
