"""What is built, installed as users do it and tried from elsewhere; run by ``make package``."""
